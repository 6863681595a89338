"""Models of other libraries, and of plain functions, in the form that is measured; a library is imported when asked for."""
