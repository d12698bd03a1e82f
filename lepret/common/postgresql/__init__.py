"""Django's backend for PostgreSQL, with what it lacks for servers that restart or hang."""
