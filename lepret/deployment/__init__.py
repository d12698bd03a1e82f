"""What `docker-compose.yml` runs once, before the system starts: keys, users and rights."""
