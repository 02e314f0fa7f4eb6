# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pytest suites share: servers, mounts, registries, images.

Everything that is started here is ended by the process that was started, also
when a test fails.  Every wait has a time limit.
"""
