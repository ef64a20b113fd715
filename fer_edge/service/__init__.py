"""Web service and its page: images and live frames in, expressions out.

Needs the extra ``serve``. The service stores and logs nothing of an image, takes no path from a
request, and contacts no other host.
"""
