"""Persistent subscriptions: groups of subscribers whose progress the server keeps.

`group`, with `waiting_messages`, `subscriber` and `strategies`, only decides. `running_group`
reads, writes and sends accordingly.
"""
