/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_SURGERY_REMOVE_TREE_H
#define PHY_SURGERY_REMOVE_TREE_H

/* Remove `name` in the directory `dir_fd`, whatever it is, with everything below it; links are removed, never followed.
 * Returns 0 or an errno value; a name that is not there is 0. */
int phy_remove_tree(int dir_fd, const char *name);
/* Remove what the directory holds, but not the entry `kept` (NULL: everything). */
int phy_remove_contents(int dir_fd, const char *kept);

#endif
