"""Simultaneous translation: speech in, the same words in another language out, clause by clause, while the speaker goes
on.

    listener.py     sound → transcript → clauses of the speaker
    backlog.py      the clauses that wait for the language model
    translator.py   clause → text in the target language
    interpreter.py  all of it as one session, with the speech
"""
