# SPDX-License-Identifier: GPL-2.0
# The KUnit module. Read by Kbuild at the top.
#
# The tests use the standard library's collections, which the kernel does not have: `alloc` is built here as the
# kernel builds `core`. tests/kunit/std.rs is the tests' `std`, and tests/kunit/test.rs their `test`.

obj-m := anemone_kunit.o
anemone_kunit-y := src/anemone_kunit.o src/linux/helpers/helpers.o \
	tests/kunit/test.o tests/kunit/std.o tests/kunit/alloc.o

kunit := $(obj)/tests/kunit
kunit_features := arbitrary_self_types,asm_goto,generic_arg_infer,used_with_arg

$(obj)/src/anemone_kunit.o: private rust_allowed_features = $(kunit_features),custom_test_frameworks
# What is common to all builds is linted in the others.
RUSTFLAGS_src/anemone_kunit.o := --test -Zpanic_abort_tests --cap-lints allow -L $(kunit) \
	--extern test=$(kunit)/libtest.rmeta --extern std=$(kunit)/libstd.rmeta
$(obj)/src/anemone_kunit.o: $(kunit)/test.o $(kunit)/std.o

RUSTFLAGS_tests/kunit/test.o := --emit=metadata=$(kunit)/libtest.rmeta --extern alloc=$(kunit)/liballoc.rmeta
$(kunit)/test.o: $(kunit)/alloc.o

$(kunit)/std.o: private rust_allowed_features = $(kunit_features),rustc_attrs
RUSTFLAGS_tests/kunit/std.o := --emit=metadata=$(kunit)/libstd.rmeta --extern alloc=$(kunit)/liballoc.rmeta
$(kunit)/std.o: $(kunit)/alloc.o

quiet_cmd_rustc_alloc = RUSTC L $(quiet_modtag) $@
      cmd_rustc_alloc = OBJTREE=$(abspath $(objtree)) $(RUSTC) $(filter-out --edition=2021 -W%,$(rust_flags)) \
	--edition=2024 --cfg no_fp_fmt_parse --cap-lints allow --crate-name alloc --crate-type rlib \
	-L $(objtree)/rust/ --sysroot=/dev/null -Zunstable-options --emit=dep-info=$(depfile) --emit=obj=$@ \
	--emit=metadata=$(kunit)/liballoc.rmeta $< $(cmd_objtool)

$(kunit)/alloc.o: $(shell $(RUSTC) --print sysroot)/lib/rustlib/src/rust/library/alloc/src/lib.rs FORCE
	+$(call if_changed_dep,rustc_alloc)
