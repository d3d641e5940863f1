"""One file a system, each as its own project documents it; each runs as a process of its own."""
