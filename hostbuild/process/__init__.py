"""Processes: tools, worker processes, who is alive, and the log.

The only room that imports subprocess, psutil and concurrent_log_handler. Nothing is imported here, so
that each caller pays for what it uses:

`executor`    the task values, the executor protocol, and the executor that stays in this process
`supervisor`  the executor with worker processes (`workers`, `worker`, `frames` are its parts)
`command`     one tool, run to its end (`groups` ends the process groups of tools)
`liveness`    who a process is, whether it lives, and what a killed build left behind
`subreaper`   adopting and reaping orphans, for the command line
`log`         the rotating log that all hostbuild processes share
"""
