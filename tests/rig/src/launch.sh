# Becomes Asterisk: root $1, instance directory $2, configuration file $3 as Asterisk sees it.
# Runs in a mount namespace of its own, so the mounts are nobody else's and go when Asterisk goes.
set -e
root=$1 instance=$2 config=$3
mount --bind "$instance/hosts" "$root/etc/hosts"
if [ "$root" != / ]; then
    mount --bind "$instance" "$root/mnt"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    for shared in /etc/resolv.conf /etc/ssl/certs; do
        if [ -e "$shared" ]; then mount --bind "$shared" "$root$shared"; fi
    done
fi
exec chroot "$root" /usr/sbin/asterisk -f -n -C "$config"
