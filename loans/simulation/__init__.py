"""For trying out the system: a simulated credit bureau, and made-up applications."""
