"""Hand-written kernels: each beside the plain formula that it computes, and faster."""
