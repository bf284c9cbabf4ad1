"""Mutants that no test catches here, and why: nobody could observe the change, or this tool cannot make it.

An entry is (module, function, "was → becomes"): reason. One that is the change of no guard, or of several, is
an error, so that a reason does not outlive what it explains.
"""

EXPLAINED = {
    ("__main__", "", "__name__ == '__main__' → False"): (
        "outside any function, where nothing is swapped; test_command runs `python -m ledger` as a process"
    ),
    ("__main__", "", "__name__ == '__main__' → not __name__ == '__main__'"): (
        "outside any function, where nothing is swapped; test_command could not import the module"
    ),
}
