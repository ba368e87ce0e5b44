"""The plugin of this method. It registers nothing until the method makes plans."""
