"""The request of API, panel, page and command line: its fields, its infotext, and its identities."""
