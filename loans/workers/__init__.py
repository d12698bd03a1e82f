"""Workers: processes that react to events, beside the web servers. Run any number of each kind."""
