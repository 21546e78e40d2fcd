/* Many ticks at once: the loops of relay and consumer over a batch.
 *
 * Compiled to WebAssembly (`python -m latbench.batch.build`), so that one small file runs on every
 * platform without a compiler, and so that no message, however made, can reach memory outside of
 * its own: every address here is an offset into the module's memory.
 *
 * The twin of `tick`, whose plain functions say what each of these must do. A loop stops at the
 * first message that is not what it knows, and tells how many it has done: the plain functions
 * take that one. Numbers are little-endian, as WebAssembly has them.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;
typedef u64 words __attribute__((vector_size(16), aligned(1)));

#define EXPORT(name) __attribute__((export_name(name)))
#define copy __builtin_memcpy

enum {
    MOST = 512,                        /* messages of a batch */
    FRAMES_BYTES = 1 << 18,            /* what one read of a socket may bring */
    TEXTS_BYTES = FRAMES_BYTES + 16 * MOST,
    END_BYTES = 512,                   /* of a message's fixed end */
    SUFFIX_BYTES = 256,                /* what the relay adds at most */
    VALUES_BYTES = TEXTS_BYTES + MOST * SUFFIX_BYTES,
    WAITING = 1 << 21,                 /* ticks that wait for the broker's answer */
    SEEN = 1 << 22,                    /* ticks among which a duplicate is known */
    PARTITIONS = 1 << 14,
    STAMPS = 5,
    SEQ_CHARS = 16,
    STAMP_CHARS = 20,
};

#define LATENCY_LIMIT_NS 10000000000LL

/* `rd_kafka_message_t` of a 64-bit process */
typedef struct {
    i32 error;
    u64 topic;
    i32 partition;
    u64 payload;
    u64 payload_bytes;
    u64 key;
    u64 key_bytes;
    i64 offset;
    u64 opaque;
} message;

typedef struct {
    u32 at;
    u32 chars;
} text;

/* what one read of a subscriber's socket brought, and when */
typedef struct {
    u32 begin;
    u32 end;
    i64 client;
    i64 received_ns;
} segment;

static u8 frames[FRAMES_BYTES] __attribute__((aligned(16)));
static u8 texts[TEXTS_BYTES] __attribute__((aligned(16)));
static text table[MOST];
static u8 values[VALUES_BYTES] __attribute__((aligned(16)));
static message messages[MOST];
static i64 rows[MOST * 8];
static i64 waiting[WAITING];
static u8 ends[MOST * END_BYTES] __attribute__((aligned(16)));
static i64 addresses[MOST];
static i32 partitions[MOST];
static i64 offsets[MOST];
static u8 seen[SEEN];
static i64 last[PARTITIONS];
static segment segments[MOST];

/* how this run's messages end: characters, 0xff where one is fixed, and where the numbers stand */
static u8 end_text[END_BYTES] __attribute__((aligned(16)));
static u8 end_fixed[END_BYTES] __attribute__((aligned(16)));
static u32 end_chars;
static u32 slots[STAMPS];
static u8 suffix[SUFFIX_BYTES];
static u32 suffix_chars;
static u32 suffix_slots[4];
static u64 base;
static u32 spread;
static u32 crc_table[256];
static u32 consumed_bytes;
static u32 counts[3];

EXPORT("address") void *address(u32 which)
{
    switch (which) {
    case 0: return frames;
    case 1: return texts;
    case 2: return table;
    case 3: return values;
    case 4: return messages;
    case 5: return rows;
    case 6: return waiting;
    case 7: return ends;
    case 8: return addresses;
    case 9: return partitions;
    case 10: return offsets;
    case 11: return seen;
    case 12: return last;
    case 13: return end_text;
    case 14: return end_fixed;
    case 15: return slots;
    case 16: return suffix;
    case 17: return suffix_slots;
    case 18: return &consumed_bytes;
    case 19: return counts;
    case 20: return segments;
    default: return 0;
    }
}

/* `own_base`: where this memory begins in the process; `over`: partitions to spread keys over by
 * CRC32, 0: the producer's partitioner. */
EXPORT("configure") void configure(u32 chars, u32 added_chars, u64 own_base, u32 over)
{
    end_chars = chars;
    suffix_chars = added_chars;
    base = own_base;
    spread = over;
    for (u32 i = 0; i < 256; i++) {
        u32 value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
        crc_table[i] = value;
    }
    for (u32 i = 0; i < PARTITIONS; i++)
        last[i] = -1;
}

/* RFC 6455, 5.3: XOR with the mask's four bytes, over and over. */
static void unmask(u8 *to, const u8 *from, u32 chars, u32 mask)
{
    u64 twice = (u64)mask << 32 | mask;
    words wide = {twice, twice};
    u32 i = 0;
    for (; i + 16 <= chars; i += 16) {
        words some;
        copy(&some, from + i, 16);
        some ^= wide;
        copy(to + i, &some, 16);
    }
    for (; i < chars; i++)
        to[i] = from[i] ^ (u8)(mask >> (i & 3) * 8);
}

static void write_padded(u8 *to, u64 value, u32 chars)
{
    u32 i = chars;
    do {
        to[--i] = '0' + (u8)(value % 10);
        value /= 10;
    } while (value && i);
    while (i)
        to[--i] = ' ';
}

/* Make frames (RFC 6455, 5.2) of ticks that lack only the moment of sending: documents of one width,
 * without their closing brace, are in `texts`, due moments in `addresses`, masks in `partitions`.
 * Where the moment belongs the mask alone stands. The frames go to `values`. */
EXPORT("make_frames") u32 make_frames(u32 count, u32 width, i64 first_seq)
{
    u32 chars = width + end_chars, header = chars < 126 ? 6 : 8;
    u8 *to = values, *made = ends;
    if (count > MOST || chars > 0xffff || chars > sizeof ends || width * count > TEXTS_BYTES
        || (header + chars) * count > VALUES_BYTES)
        return 0;
    for (u32 i = 0; i < count; i++) {
        copy(made, texts + i * width, width);
        copy(made + width, end_text, end_chars);
        write_padded(made + width + slots[0], (u64)(first_seq + i), SEQ_CHARS);
        write_padded(made + width + slots[1], (u64)addresses[i], STAMP_CHARS);
        to[0] = 0x81;
        to[1] = 0x80 | (chars < 126 ? chars : 126);
        if (header == 8) {
            to[2] = (u8)(chars >> 8);
            to[3] = (u8)chars;
        }
        copy(to + header - 4, partitions + i, 4);
        unmask(to + header, made, chars, (u32)partitions[i]);
        to += header + chars;
    }
    return count;
}

/* Take whole, final, masked text frames from `begin` on, up to 64 KiB each (RFC 6455, 5.2). Their
 * texts go to `texts`, where they stand to `table`. */
EXPORT("take_frames") u32 take_frames(u32 begin, u32 end, u32 most)
{
    u32 at = begin, count = 0;
    u8 *to = texts;
    if (most > MOST || end > FRAMES_BYTES)
        return 0;
    while (count < most && end - at >= 6) {
        const u8 *frame = frames + at;
        u32 chars = frame[1] & 0x7f, header = 6, mask;
        if (frame[0] != 0x81 || frame[1] < 0x80 || chars == 127)
            break;
        if (chars == 126) {
            header = 8;
            if (end - at < header)
                break;
            chars = (u32)frame[2] << 8 | frame[3];
            if (chars < 126)
                break;
        }
        if (end - at < header + chars)
            break;
        copy(&mask, frame + header - 4, 4);
        unmask(to, frame + header, chars, mask);
        table[count].at = (u32)to;
        table[count].chars = chars;
        to += (chars + 15) & ~15u;
        at += header + chars;
        count++;
    }
    consumed_bytes = at - begin;
    return count;
}

/* A number padded with blanks on its left; -1: it is none, or none that an int64 holds. */
static i64 number(const u8 *from, u32 chars)
{
    u32 i = 0;
    u64 value = 0;
    while (i < chars - 1 && from[i] == ' ')
        i++;
    for (; i < chars; i++) {
        u32 digit = (u32)from[i] - '0';
        if (digit > 9 || value > 922337203685477580ULL)
            return -1;
        value = value * 10 + digit;
    }
    return value >> 63 ? -1 : (i64)value;
}

/* `%4d.%06d` of nanoseconds below 10 s, in milliseconds. */
static void write_latency(u8 *to, u64 latency_ns)
{
    u32 whole_ms = (u32)(latency_ns / 1000000), rest_ns = (u32)(latency_ns % 1000000);
    write_padded(to, whole_ms, 4);
    to[4] = '.';
    for (u32 i = 11; i-- > 5; rest_ns /= 10)
        to[i] = '0' + (u8)(rest_ns % 10);
}

/* Whether a message ends as this run's do; its numbers. */
static int read_end(const u8 *end, u32 count, i64 *numbers)
{
    words differs = {0, 0};
    for (u32 i = 0; i < end_chars; i += 16) {
        /* what stands behind the end is not looked at: nothing is fixed there */
        words some, wanted, fixed;
        copy(&some, end + i, 16);
        copy(&wanted, end_text + i, 16);
        copy(&fixed, end_fixed + i, 16);
        differs |= (some ^ wanted) & fixed;
    }
    if (differs[0] | differs[1])
        return 0;
    for (u32 i = 0; i < count; i++) {
        numbers[i] = number(end + slots[i], i ? STAMP_CHARS : SEQ_CHARS);
        if (numbers[i] < 0)
            return 0;
    }
    return 1;
}

/* The characters of the symbol in `{"timestamp":…17…,"symbol":"…", *"…`; 0: it is not there. */
static u32 symbol_chars(const u8 *message, u32 chars)
{
    static const u8 opening[] = "{\"timestamp\":", middle[] = ",\"symbol\":\"";
    u32 i, end;
    if (chars < 45)
        return 0;
    for (i = 0; i < 13; i++)
        if (message[i] != opening[i])
            return 0;
    for (; i < 30; i++) /* nothing but a number: a string there might hold another `symbol` */
        if (message[i] < '.' || message[i] > '9')
            return 0;
    for (; i < 41; i++)
        if (message[i] != middle[i - 30])
            return 0;
    for (; i < chars && message[i] != '"'; i++)
        /* an escape, or what would have to be valid UTF-8, is for a real decoder */
        if (message[i] < 0x20 || message[i] == '\\' || message[i] >= 0x80)
            return 0;
    end = i++;
    if (i >= chars || message[i++] != ',')
        return 0;
    while (i < chars && message[i] == ' ')
        i++;
    return i < chars && message[i] == '"' ? end - 41 : 0;
}

static u32 crc32(const u8 *from, u32 chars)
{
    u32 value = ~0u;
    for (u32 i = 0; i < chars; i++)
        value = crc_table[(value ^ from[i]) & 0xff] ^ value >> 8;
    return ~value;
}

/* Put the relay's stamps into ticks of this run that the generator sent: values and messages for
 * librdkafka, and rows of seq, relay_in, relay_out. */
EXPORT("relay") u32 relay(u32 first, u32 count, i64 relay_in_ns, i64 relay_out_ns)
{
    u8 *to = values;
    u32 done = 0;
    if (count > MOST || relay_out_ns < relay_in_ns || relay_out_ns - relay_in_ns >= LATENCY_LIMIT_NS)
        return 0;
    write_padded(suffix + suffix_slots[0], (u64)relay_in_ns, STAMP_CHARS);
    write_padded(suffix + suffix_slots[1], (u64)relay_out_ns, STAMP_CHARS);
    write_latency(suffix + suffix_slots[3], (u64)(relay_out_ns - relay_in_ns));
    for (u32 i = first; i < count; i++, done++) {
        const u8 *from = (const u8 *)table[i].at;
        u32 chars = table[i].chars, symbol;
        i64 numbers[3];
        message *made = messages + done;
        if (chars < end_chars + 45 || !read_end(from + chars - end_chars, 3, numbers))
            break;
        if (numbers[2] > relay_in_ns || relay_in_ns - numbers[2] >= LATENCY_LIMIT_NS)
            break;
        symbol = symbol_chars(from, chars - end_chars);
        if (!symbol)
            break;
        copy(to, from, chars - 2);
        copy(to + chars - 2, suffix, suffix_chars);
        write_latency(to + chars - 2 + suffix_slots[2], (u64)(relay_in_ns - numbers[2]));
        made->error = 0;
        made->partition = spread ? (i32)(crc32(from + 41, symbol) % spread) : -1;
        made->payload = base + (u32)to;
        made->payload_bytes = chars - 2 + suffix_chars;
        made->key = base + (u32)(from + 41);
        made->key_bytes = symbol;
        made->opaque = (u64)numbers[0] + 1;
        waiting[numbers[0] & (WAITING - 1)] = relay_out_ns;
        rows[done * 3] = numbers[0];
        rows[done * 3 + 1] = relay_in_ns;
        rows[done * 3 + 2] = relay_out_ns;
        to += (chars - 2 + suffix_chars + 15) & ~15u;
    }
    return done;
}

/* Rows of seq, relay_out, acked, partition, offset for the answers in `messages`. */
EXPORT("answer") u32 answer(u32 count, i64 acked_ns)
{
    u32 done = 0;
    for (; done < count && done < MOST; done++) {
        const message *given = messages + done;
        i64 seq = (i64)given->opaque - 1, *row = rows + done * 5;
        if (given->error || given->offset < 0 || seq < 0)
            break;
        row[0] = seq;
        row[1] = waiting[seq & (WAITING - 1)];
        row[2] = acked_ns;
        row[3] = given->partition;
        row[4] = given->offset;
    }
    return done;
}

/* Where the ends of the messages in `messages` begin, in the process's memory. */
EXPORT("find_ends") u32 find_ends(u32 count)
{
    u32 done = 0;
    for (; done < count && done < MOST; done++) {
        const message *given = messages + done;
        if (given->error || !given->payload || given->payload_bytes < end_chars)
            break;
        addresses[done] = (i64)(given->payload + given->payload_bytes - end_chars);
        partitions[done] = given->partition;
        offsets[done] = given->offset;
    }
    return done;
}

/* Record ticks of this run by their ends: rows of seq, due, sent, relay_in, relay_out, consumed,
 * partition, offset. `counts`: rows, duplicates, reordered. */
EXPORT("record") u32 record(u32 first, u32 count, i64 consumed_ns)
{
    u32 i = first;
    i64 *row = rows;
    counts[1] = counts[2] = 0;
    for (; i < count && i < MOST; i++) {
        u32 partition = (u32)partitions[i], place;
        u8 turn;
        i64 numbers[STAMPS], seq;
        if (partition >= PARTITIONS || !read_end(ends + i * end_chars, STAMPS, numbers))
            break;
        seq = numbers[0];
        place = (u32)seq & (SEEN - 1);
        turn = (u8)((u64)seq / SEEN % 255 + 1);
        if (seen[place] == turn) {
            counts[1]++;
            continue;
        }
        seen[place] = turn;
        if (seq < last[partition])
            counts[2]++;
        else
            last[partition] = seq;
        for (u32 j = 0; j < STAMPS; j++)
            row[j] = numbers[j];
        row[5] = consumed_ns;
        row[6] = partition;
        row[7] = offsets[i];
        row += 8;
    }
    counts[0] = (u32)(row - rows) / 8;
    return i - first;
}

/* Take ticks of this run out of what subscribers have read: whole, final text frames, not masked, in
 * `segments` of `frames`, each from its `begin` on, which is moved behind what was taken. Rows of
 * seq, client, due, relay_in, received; `MOST` at most, so that it is to be called until none come.
 * `consumed_bytes`: how many segments are left with something in them. */
EXPORT("receive") u32 receive(u32 count)
{
    i64 *row = rows;
    u32 left = 0;
    for (u32 i = 0; i < count && i < MOST; i++) {
        segment *part = segments + i;
        u32 at = part->begin, end = part->end;
        if (end > FRAMES_BYTES || at > end)
            continue;
        while (end - at >= 4 && row < rows + MOST * 5) {
            const u8 *frame = frames + at;
            u32 chars = frame[1], header = 2;
            i64 numbers[STAMPS];
            if (frame[0] != 0x81 || chars > 126)
                break;
            if (chars == 126) {
                chars = (u32)frame[2] << 8 | frame[3];
                header = 4;
            }
            if (end - at < header + chars || chars < end_chars
                || !read_end(frame + header + chars - end_chars, STAMPS, numbers))
                break;
            row[0] = numbers[0];
            row[1] = part->client;
            row[2] = numbers[1];
            row[3] = numbers[3];
            row[4] = part->received_ns;
            row += 5;
            at += header + chars;
        }
        part->begin = at;
        left += at < end;
    }
    consumed_bytes = left;
    return (u32)(row - rows) / 5;
}
