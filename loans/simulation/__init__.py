"""Things to try the system with: a simulated credit bureau, and people who apply."""
