"""What networks refuse to be built with."""


def positive(owner: str, **sizes: int) -> None:
    """Say so if a size is below 1."""
    if min(sizes.values()) < 1:
        found = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"{owner} expects sizes of at least 1; got {found}.")
