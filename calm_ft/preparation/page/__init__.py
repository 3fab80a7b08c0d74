"""A prepared dataset in one HTML file: whether it is enough, what is in it, what is wrong with it, and all its clips.

`rows` reads the dataset's files a line at a time, `survey` makes of one pass over them what the page shows,
`sections` puts it into words and drawings, and `page` renders it. `calm_ft/preparation/serve.py` serves the same page,
so that texts can be corrected.
"""

from calm_ft.preparation.page.page import write_page

__all__ = ["write_page"]
