"""Persistent subscriptions: groups of subscribers whose progress the server keeps.

The core (`group`, `waiting`, `subscriber`, `strategies`) decides and does nothing else; what it
decides is read, written and sent around it.
"""
