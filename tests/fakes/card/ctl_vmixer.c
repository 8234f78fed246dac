/*
 * vmixer: the mixer of a sound card as an ALSA external control. No daemon, no kernel module, no root.
 *
 * Its elements are the lines of a text file, which are read at opening and written back at every change:
 *     KIND COUNT MIN MAX ITEMS VALUE... \t NAME        KIND: i integer, b boolean, e enumerated; ITEMS: a|b|c or -
 * Fields are separated by tabs, the name is last. Not for: events, volatile elements, dB scales.
 */
#define _GNU_SOURCE
#include <alsa/asoundlib.h>
#include <alsa/control_external.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 256
#define CHANNELS 2

struct element {
    char kind;
    unsigned count;
    long min, max, value[CHANNELS];
    char items[1024];
    char name[64];
};

struct vmixer {
    snd_ctl_ext_t ext;
    char *path;
    unsigned count;
    struct element element[MOST];
};

static int load(struct vmixer *m)
{
    char line[2048];
    FILE *file = fopen(m->path, "r");
    if (file == NULL)
        return -errno;
    while (m->count < MOST && fgets(line, sizeof line, file) != NULL) {
        struct element *e = &m->element[m->count];
        int got = sscanf(line, "%c\t%u\t%ld\t%ld\t%1023[^\t]\t%ld\t%ld\t%63[^\n]", &e->kind, &e->count, &e->min,
                         &e->max, e->items, &e->value[0], &e->value[1], e->name);
        if (got != 8) {
            fclose(file);
            return -EINVAL;
        }
        m->count++;
    }
    fclose(file);
    return 0;
}

static int save(struct vmixer *m)
{
    char path[4096]; /* a reader sees all of the old file or all of the new one */
    snprintf(path, sizeof path, "%s.new", m->path);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return -errno;
    for (unsigned i = 0; i < m->count; i++) {
        struct element *e = &m->element[i];
        fprintf(file, "%c\t%u\t%ld\t%ld\t%s\t%ld\t%ld\t%s\n", e->kind, e->count, e->min, e->max, e->items, e->value[0],
                e->value[1], e->name);
    }
    return fclose(file) == 0 && rename(path, m->path) == 0 ? 0 : -errno;
}

static struct element *at(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key)
{
    return &((struct vmixer *)ext->private_data)->element[key];
}

static void on_close(snd_ctl_ext_t *ext)
{
    struct vmixer *m = ext->private_data;
    free(m->path);
    free(m);
}

static int on_count(snd_ctl_ext_t *ext)
{
    return (int)((struct vmixer *)ext->private_data)->count;
}

static int on_list(snd_ctl_ext_t *ext, unsigned offset, snd_ctl_elem_id_t *id)
{
    snd_ctl_elem_id_set_interface(id, SND_CTL_ELEM_IFACE_MIXER);
    snd_ctl_elem_id_set_name(id, at(ext, offset)->name);
    return 0;
}

static snd_ctl_ext_key_t on_find(snd_ctl_ext_t *ext, const snd_ctl_elem_id_t *id)
{
    struct vmixer *m = ext->private_data;
    const char *name = snd_ctl_elem_id_get_name(id);
    unsigned number = snd_ctl_elem_id_get_numid(id);
    if (number > 0 && number <= m->count)
        return number - 1;
    for (unsigned i = 0; i < m->count; i++)
        if (strcmp(m->element[i].name, name) == 0)
            return i;
    return SND_CTL_EXT_KEY_NOT_FOUND;
}

static int on_attribute(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, int *type, unsigned *access, unsigned *count)
{
    struct element *e = at(ext, key);
    *type = e->kind == 'i' ? SND_CTL_ELEM_TYPE_INTEGER
                           : e->kind == 'b' ? SND_CTL_ELEM_TYPE_BOOLEAN : SND_CTL_ELEM_TYPE_ENUMERATED;
    *access = SND_CTL_EXT_ACCESS_READWRITE;
    *count = e->count;
    return 0;
}

static int on_integer_info(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, long *min, long *max, long *step)
{
    *min = at(ext, key)->min;
    *max = at(ext, key)->max;
    *step = 0;
    return 0;
}

static const char *item(struct element *e, unsigned wanted, size_t *length)
{
    const char *from = e->items;
    for (; wanted > 0; wanted--) {
        from = strchr(from, '|');
        if (from == NULL)
            return NULL;
        from++;
    }
    *length = strcspn(from, "|");
    return from;
}

static int on_enumerated_info(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, unsigned *items)
{
    size_t length;
    for (*items = 0; item(at(ext, key), *items, &length) != NULL; (*items)++) {
    }
    return 0;
}

static int on_enumerated_name(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, unsigned wanted, char *name, size_t size)
{
    size_t length;
    const char *from = item(at(ext, key), wanted, &length);
    if (from == NULL)
        return -EINVAL;
    snprintf(name, size, "%.*s", (int)length, from);
    return 0;
}

static int on_read_integer(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, long *value)
{
    struct element *e = at(ext, key);
    for (unsigned i = 0; i < e->count; i++)
        value[i] = e->value[i];
    return 0;
}

static int on_read_enumerated(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, unsigned *items)
{
    struct element *e = at(ext, key);
    for (unsigned i = 0; i < e->count; i++)
        items[i] = (unsigned)e->value[i];
    return 0;
}

static int on_write_integer(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, long *value)
{
    struct element *e = at(ext, key);
    for (unsigned i = 0; i < e->count; i++) {
        if (value[i] < e->min || value[i] > e->max)
            return -EINVAL;
        e->value[i] = value[i];
    }
    return save(ext->private_data); /* 0 also where it changed something, as a kernel's card gives */
}

static int on_write_enumerated(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, unsigned *items)
{
    struct element *e = at(ext, key);
    for (unsigned i = 0; i < e->count; i++)
        e->value[i] = items[i];
    return save(ext->private_data); /* 0 also where it changed something, as a kernel's card gives */
}

static const snd_ctl_ext_callback_t CALLBACKS = {
    .close = on_close,
    .elem_count = on_count,
    .elem_list = on_list,
    .find_elem = on_find,
    .get_attribute = on_attribute,
    .get_integer_info = on_integer_info,
    .get_enumerated_info = on_enumerated_info,
    .get_enumerated_name = on_enumerated_name,
    .read_integer = on_read_integer,
    .read_enumerated = on_read_enumerated,
    .write_integer = on_write_integer,
    .write_enumerated = on_write_enumerated,
};

SND_CTL_PLUGIN_DEFINE_FUNC(vmixer)
{
    snd_config_iterator_t i, next;
    const char *path = NULL;
    (void)root;
    snd_config_for_each(i, next, conf) {
        snd_config_t *entry = snd_config_iterator_entry(i);
        const char *id;
        if (snd_config_get_id(entry, &id) >= 0 && strcmp(id, "file") == 0)
            snd_config_get_string(entry, &path);
    }
    if (path == NULL)
        return -EINVAL;
    struct vmixer *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    m->path = strdup(path);
    m->ext.version = SND_CTL_EXT_VERSION;
    snprintf(m->ext.id, sizeof m->ext.id, "vmixer");
    snprintf(m->ext.driver, sizeof m->ext.driver, "vmixer");
    snprintf(m->ext.name, sizeof m->ext.name, "vmixer");
    snprintf(m->ext.longname, sizeof m->ext.longname, "virtual mixer");
    snprintf(m->ext.mixername, sizeof m->ext.mixername, "vmixer");
    m->ext.poll_fd = -1;
    m->ext.callback = &CALLBACKS;
    m->ext.private_data = m;
    int err = m->path == NULL ? -ENOMEM : load(m);
    if (err >= 0)
        err = snd_ctl_ext_create(&m->ext, name, mode);
    if (err < 0) {
        free(m->path);
        free(m);
        return err;
    }
    *handlep = m->ext.handle;
    return 0;
}

SND_CTL_PLUGIN_SYMBOL(vmixer);
