"""The HTTP front: what a stranger may cost, before a request reaches Django or Channels.

daphne has no settings for most of this, so that its connections, requests and websockets are
replaced by subclasses of them. As an installed app this package has `runserver`, and is imported by
every command: so it loads nothing.
"""
