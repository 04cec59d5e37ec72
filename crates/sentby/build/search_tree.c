/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What elfutils 0.192 (Debian 13) left out of libelf.a: elf_begin() and elf_end() call
 * these two, and only elf_getdata_rawchunk(), which nothing here uses, ever puts
 * anything into the tree. The tree is zeroed when the Elf is allocated. build.rs links
 * this only where libelf.a lacks them.
 */
void eu_search_tree_init(void *tree);
void eu_search_tree_fini(void *tree, void (*free_node)(void *node));

void eu_search_tree_init(void *tree)
{
	(void)tree;
}

void eu_search_tree_fini(void *tree, void (*free_node)(void *node))
{
	(void)tree;
	(void)free_node;
}
