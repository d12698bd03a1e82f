"""`manage.py doctor`: whether each service that is configured works, and what to do if not."""
