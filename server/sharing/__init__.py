"""The state that several processes of the service share: conversations to resume, client secrets, places, and rates.

Each has its own copy in the process that serves a connection. These modules connect the copies:

    values.py         values by key, with an expiry: the Protocol, and those in memory
    places.py         the slots that callers hold in other processes
    main_process.py   both through the main process of this machine (PROCESSES)
    redis.py          both through Redis, for any number of machines (REDIS_URL)
    opening.py        which one the settings ask for
"""
