"""The command line: flags, environment, terminal, signals, exit codes. It decides nothing about images."""
