"""What `workbench` does, one module a command: each loads only what it needs.

Exit codes of every command: 0 done, 1 refused or unsound, 2 could not run.
"""

DONE, REFUSED, COULD_NOT_RUN = 0, 1, 2
