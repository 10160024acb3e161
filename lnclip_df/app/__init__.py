"""A page in the browser that scores what its visitors upload: lnclip-df app."""

from lnclip_df.app.server import listen, serve

__all__ = ["listen", "serve"]
