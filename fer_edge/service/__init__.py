"""The web service and its page: pictures and live frames in, expressions out.

Needs the extra ``serve``. Nothing of a picture is stored or logged, no path is taken from a
request, and no other host is asked for anything.
"""
