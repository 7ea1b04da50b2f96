/* Process set-up: what a process asks of the kernel whose death takes a database down. All of it best effort, none of it an error. */
#pragma once

#include "base/base.h"

/* Before any thread starts. `dies_with_parent`: the kernel kills us when the thread that started us ends. */
void process_setup(bool dies_with_parent);
