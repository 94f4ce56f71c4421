"""``wnet demo``: a page in the browser that restores the faces of a photo. It is served to this machine only.

========== =====================================================================================
limits     what may be uploaded
choices    the networks one can choose from, opened on first use; faces found are remembered
drawing    numbered boxes, the parsing overlay, close-ups
work       one photo through the restorer, and the files that the page shows
examples   photos to try it with
latest     what each open page asked for last
page       the page itself (Gradio)
privacy    what may reach the page, and where the page may reach
gate       which parts of Gradio may be reached, and with which files
uploads    takes photos, one a request
store      the files: whose they are, how much there may be, when they go
visitors   who asks: a cookie
asgi       reading requests and writing answers, for these layers
server     port, folder for files, start and end
========== =====================================================================================
"""
