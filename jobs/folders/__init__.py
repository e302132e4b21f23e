"""Watched folders (WATCH_DIR): each recording that is put into one is transcribed once, and its results are written
beside it or to OUTPUT_DIR.

    looking.py         what is in a folder, without following links; whether a file is still being written
    settling.py        when a file is complete: it has not changed for a while
    rows.py            which files have a job, in the database
    watcher.py         the task of one folder: looks into it, and creates jobs for complete files
    result_writer.py   the results of one folder: rendered, and written to their place
    results.py         one result as a file, complete or not at all, and never in the place of a file that is not ours
    output.py          a folder for results in OUTPUT_DIR, which is never an empty mount point
    mounts.py          drives that are not mounted
    folder.py          the place, rows, thread and state of one folder, for both of them
"""
