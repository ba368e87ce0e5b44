"""A genuine WebUI, named by ``UNIID_WEBUI``: started, driven over HTTP, stopped."""
