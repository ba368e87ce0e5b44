"""What people see: the panel, the same in a WebUI and on the stand-alone page."""
