"""How each provider is asked for media: the body of a request, and what its answer says.

A class has a method for each kind that its provider makes (`image`, `tts`, `stt`, `video`), from a
request and an `Asking` to a `MediaResult`. It has no state. `lacks(request, model)` says what a model
lacks that a request needs, before anything is paid. Nothing is tried again here: only the guard does.
"""
