"""`python -m pyro_exact.cli`, for launchers such as torchrun."""

from pyro_exact.cli import main

if __name__ == "__main__":
    main()
