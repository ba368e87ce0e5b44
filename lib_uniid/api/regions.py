"""Parts of a picture that have a name, so that no mask has to be drawn and an infotext can say them."""

ANYWHERE = "anywhere"
"""The choice of no region."""

REGIONS: dict[str, tuple[float, float, float, float]] = {
    "left half": (0, 0, 1 / 2, 1),
    "right half": (1 / 2, 0, 1, 1),
    "left third": (0, 0, 1 / 3, 1),
    "middle third": (1 / 3, 0, 2 / 3, 1),
    "right third": (2 / 3, 0, 1, 1),
    "upper half": (0, 0, 1, 1 / 2),
    "lower half": (0, 1 / 2, 1, 1),
}
"""Left, top, right and bottom as shares of the picture's width and height."""
