"""Views over the journal. Each consumer keeps its own place in every origin and advances it together with its view,
in one transaction: killed anywhere, it neither loses a record nor counts one twice.

`step` is one pass, a function of what the journal and the view hold; `loop` repeats it in the ops process.
"""
