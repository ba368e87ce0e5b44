"""The user interface: the panel, which a WebUI and the stand-alone page share, and the page."""
