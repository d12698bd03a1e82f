"""Processes that work off what has happened, beside the web servers: any number of each kind."""
