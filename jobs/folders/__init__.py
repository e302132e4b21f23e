"""Watched folders (WATCH_DIR): each recording that is put into one is transcribed once, and its results are written
beside it or to OUTPUT_DIR.

    looking.py    what is in a folder, without following links; whether a file is still being written
    settling.py   when a file is complete: it has not changed for a while
    rows.py       which files have a job, in the database
    results.py    results as files, complete or not at all, and never in the place of a file that is not ours
    watcher.py    the task of one folder
"""
