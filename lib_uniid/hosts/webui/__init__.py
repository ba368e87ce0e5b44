"""UniID inside AUTOMATIC1111 and Forge; see ``docs/decisions/0003-webui.md``."""
