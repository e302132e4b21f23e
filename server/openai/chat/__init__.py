"""OpenAI's chat completions, with and without sound: `POST /v1/chat/completions`.

A request goes this way:

    fields.py     the JSON body, and the fields that cannot be used
    messages.py   its messages as the prompt: sound becomes text, `audio: {id}` the words of an earlier reply
    replying.py   one turn on this prompt, with its limits
    output.py     the turn's events as a completion, whole or in chunks
    recent.py     what is kept between two requests
"""
