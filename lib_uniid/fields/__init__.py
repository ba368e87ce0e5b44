"""The table of fields: of a request, of its parts, and of a generation.

A row (:mod:`~lib_uniid.fields.rows`) gives a field's name, its allowed values and how it is shown. The table
drives the validation of requests and settings, the panel's sliders, pasting, the axes of the X/Y/Z plot, the
command line's options and the tables of ``docs/``. The modules use only the standard library, because they
are imported when the WebUI starts.
"""
