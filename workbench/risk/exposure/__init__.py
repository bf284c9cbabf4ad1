"""What the desk may lose in a year: an exact distribution from sourced scenarios, and what it is good for.

Pure: documents and seeds in, figures out. No file, clock or network; chance only from a seed that is told.
Money is `Decimal` in documents and in what is told; in between it is float64 in USD, good to 15 digits.
What a kernel computes with it is a claim: no limit moves because of it, a policy change does that.
"""
