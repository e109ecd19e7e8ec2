"""Lessons: text files of steps to predict, reveal and explain; worksheets with figures that the bundles answer.

`reading` parses a file, `material` gives its pictures and figures from the bundles, `checking` holds a file to them,
`exercises` makes and marks worksheets, `rooms` keeps votes. `python -m explorer.lessons` checks and grades.
"""
