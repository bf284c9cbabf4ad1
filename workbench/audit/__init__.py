"""What an auditor looks at: a bundle under his own trust root, taken apart and shown. It only reads."""
