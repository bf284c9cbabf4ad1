"""The approver: the mirror that shows a person what is really asked, and holds no key."""
