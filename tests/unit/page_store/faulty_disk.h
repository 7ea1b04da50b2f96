/*
 * Faulty disk: the functions of page_store/disk.h over files in memory, with the semantics of a disk that can fail, fill up and lose power.
 * Link it with page_store_without_disk_dep instead of page_store_dep.
 *
 * What it does with what is not synced, by the seed: each 512-byte sector of an unsynced write is kept or lost on its own, also an older unsynced
 * content may have reached the disk; so is the size of a file; of unsynced changes of a folder each is kept or lost. What has been synced
 * stays. A sync that was made to fail writes some of it and forgets the rest, as Linux does (T11): another sync does not bring it back.
 *
 * Folders: faulty_disk_folder() gives one that exists in memory only. The descriptor of a real folder may be given too (a store's layer
 * folder): files below it are in memory as well, kept by the folder's identity; real folders themselves, made and opened with O_DIRECTORY, stay on
 * the real disk. Descriptors of files are no real ones: only disk_close() closes them.
 *
 * Threads: any; one lock.
 */
#pragma once

#include "base/base.h"

/* Forgets everything, failures to come included. */
void faulty_disk_reset(uint64_t seed);
/* A descriptor of the folder of that name, made if it is not there; lost with a crash like any other. */
int faulty_disk_folder(const char *name);

/* The nth call from now (1: the next) fails with this errno, once. 0: none does. */
void faulty_disk_fail(uint64_t nth, int error);
/* From the nth call on everything fails with EIO: the power is gone. Then free all that has descriptors, and call faulty_disk_crash(). */
void faulty_disk_cut_power(uint64_t nth);
bool faulty_disk_has_failed(void); /* has what was asked for happened? */
uint64_t faulty_disk_calls(void);  /* since the reset */
uint64_t faulty_disk_punches(void);
/* Room for so many more bytes than are used now (in pages of 8 KiB); UINT64_MAX: no limit. Then ENOSPC. */
void faulty_disk_set_room(uint64_t bytes);
uint64_t faulty_disk_used(void);

/* Power loss and return; every descriptor is dead, locks are free, no failure is planned any more. */
void faulty_disk_crash(void);
/* The same for a kill -9: nothing is lost. */
void faulty_disk_kill(void);

/* For tests that damage files: the current content is the durable one too. False: no such file, or it is shorter. */
bool faulty_disk_flip_bit(int folder_fd, const char *name, uint64_t at, unsigned bit);
size_t faulty_disk_open_count(
        void); /* descriptors of files and folders in memory that are open: 0 when nothing leaks */
