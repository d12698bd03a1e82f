"""A credit bureau to try things with: it keeps to the protocol, and misbehaves as often as told.

`POST /scores` with a JSON body `{"national_id": "123456aa"}` and an `Idempotency-Key` (a UUID) is
answered with `{"score": 7}`. `GET /healthz` says that it runs; `GET /asks`, how often it was asked
about each key, and how often it gave a score.
"""
