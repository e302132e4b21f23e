"""Several processes that serve connections together (PROCESSES), with one main process.

    main_process.py   the main process: starts the fronts again when they end, and stops them
    process.py        one front, as the main process sees it
    doors.py          its listening sockets: each connection is passed to the front with the fewest
    front.py          one front: the application, for connections that the main process has accepted
    state.py          the state that the fronts share, in the main process
    messages.py       the messages between both

The models are shared by `pipeline.workers.sharing`, and the fronts use the shared state through `server.sharing`.
"""
