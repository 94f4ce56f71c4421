"""``wnet demo``: a page in the browser that restores the faces of a photo. It is served to this machine only.

========== =====================================================================================
limits     what may be uploaded
choices    the networks one can choose from, opened on first use; faces found are remembered
drawing    numbered boxes, the parsing overlay, close-ups
work       one photo through the restorer, and the files that the page shows
examples   photos to try it with
page       the page itself (Gradio)
privacy    what may reach the page, and where the page may reach
server     port, folder for files, start and end
========== =====================================================================================
"""
